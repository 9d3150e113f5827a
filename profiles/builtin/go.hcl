# go: the go command. Modules are downloaded, by Go's own proxy and checksum database.
#
# For a profile of yours: extends = ["claude-code", "go"]. The caches are fresh in each
# run. Private modules, which go fetches from their repository, need an allow of it and
# GOPRIVATE. To begin with your cache of modules:
#
#   files {
#     home "go/pkg/mod" { mode = "overlay" }   # needs Linux 6.6
#   }
description = "The go command: modules are downloaded by Go's proxy"
extends     = ["base"]

network {
  allow "go" {
    hosts  = ["*.golang.org"]
    reason = "modules and their checksums"

    request "GET|HEAD" "/**" {}
  }
}

files {
  exec = ["~/sdk", "~/go/bin", "~/.local/go"]
}

process {
  pass_env = ["PATH", "GOPRIVATE", "GONOSUMDB", "GOFLAGS", "CGO_ENABLED", "GOTOOLCHAIN"]
  env = {
    GOTELEMETRY = "off"
  }
}
