files {
  home "" {}
  home "." {}
  home "../x" {}
  home "/etc/x" {}
  home "~/.npm" {}
  home ".npm" { mode = "writable" }
  home ".cache" { from = "~other/x" }
  home ".x" {}
  home ".x/" {}
  home ".y" { form = "~/.y" }
}
