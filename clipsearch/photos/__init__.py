"""Photos on disk: finding them (`scan`), turning bytes into pixels (`decode`), reading EXIF (`metadata`)."""
