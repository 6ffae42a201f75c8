"""Libraries that are collections of Milvus: photos as rows, filters as expressions, how both get there."""
