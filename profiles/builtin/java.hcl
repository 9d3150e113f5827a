# java: Maven and Gradle. Libraries and plugins are downloaded; nothing is deployed.
#
# For a profile of yours: extends = ["claude-code", "java"]. The caches are fresh in each
# run. Gradle's wrapper fetches Gradle from a code host, which is not allowed: have it
# installed, or add that host. The run's certificate authority is in the trust store that
# JAVA_TOOL_OPTIONS names.
description = "Maven and Gradle: libraries are downloaded, nothing is deployed"
extends     = ["base"]

network {
  allow "java" {
    hosts  = ["*.maven.org", "*.maven.apache.org", "*.gradle.org"]
    reason = "libraries and plugins"

    request "GET|HEAD" "/**" {}
  }
}

files {
  exec = ["~/.sdkman/candidates"]
  # Not settings.xml beside them, which may hold passwords.
  read = ["/etc/maven/m2.conf", "/etc/maven/logging", "/etc/gradle"]
}

process {
  pass_env = ["PATH", "JAVA_HOME"]
}
