files {
  home ".app" {
    mode   = "overlay"
    redact = true
  }
  home ".rc" {
    mode   = "readonly"
    redact = true
  }
  home ".other" {
    mode   = "copy"
    redact = "yes"
  }
}
