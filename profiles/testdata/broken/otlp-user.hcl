audit { otlp = "https://me:secret@collector.example/v1" }
