# default: what `agentjail run -- command` uses when no profile is named.
#
# The agent works on an overlay of the folder that you start it in: it sees your
# files, and what it changes stays in the jail until you apply it. It has the
# system's programs, and no network. To give it a host, write a profile of your own:
#
#   extends = ["default"]
#
#   network {
#     allow "api.example.com" {}        # port 443, TLS
#   }
#
#   workspace {
#     hide = [".env", "**/*.pem"]       # not there at all for the agent
#   }
description = "A first run: the workspace as an overlay, the system's programs, no network, half a day"
extends     = ["base"]

# An agent that is forgotten does not run for ever.
limits {
  time = "12h"
}
