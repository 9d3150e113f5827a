description = shell("id")
network {
  allow "a" { hosts = [file("/etc/hostname")] }
  allow "b" { hosts = [file("../x")] }
  allow "c" { hosts = [file("missing")] }
  allow "d" { hosts = [lowr("X")] }
  allow "e" { hosts = jsondecode("{") }
}
