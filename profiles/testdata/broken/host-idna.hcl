network {
  allow "xn--a" {}
  allow "ex⁇mple.com" {}
}
