limits { memory = "1GiB" }
limits {
  memory  = "2GiB"
  enforce = "best-effort"
}
