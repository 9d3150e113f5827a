on "anomaly" { webhook = "http://hooks.example.com/x" }
on "escape" { webhook = "http://127.0.0.1.example.com/x" }
on "limit" { webhook = "https://user:pass@hooks.example.com/x" }
