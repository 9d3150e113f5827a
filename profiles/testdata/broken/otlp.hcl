audit {
  otlp = "collector.example:4318"
  size = "1KiB"
}
