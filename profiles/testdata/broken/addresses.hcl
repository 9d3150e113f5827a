network {
  allow "127.1" {}
  allow "0x7f.0.0.1" {}
  allow "0177.0.0.1" {}
  allow "2130706433" {}
  allow "fe80::1%eth0" {}
  allow "[::1" {}
  allow "[::1]x" {}
  allow "1:2:3" {}
}
