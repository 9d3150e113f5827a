apply {
  allow ".vscode/**" {}
  allow "/etc/passwd" { reason = "absolute" }
  hold "../x" {}
  hold "deploy/**" { why = "production" }
  allow "Makefile" { reason = 3 }
}
apply {}
