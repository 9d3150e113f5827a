files {
  deny = ["/data/café"]
}
