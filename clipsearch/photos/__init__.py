"""Photos: finding them (`scan`), bytes (`files`, `fetch`), pixels (`decode`), EXIF (`metadata`)."""
