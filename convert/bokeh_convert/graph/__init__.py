"""The float32 flatbuffer: made, inspected, edited and evaluated."""
