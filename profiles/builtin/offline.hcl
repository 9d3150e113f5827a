# offline: base, and no network whatever a profile on top of it allows.
#
# base allows no network either. The difference is in what extends it: a deny holds
# against every allow, so a profile that has "offline" among what it extends stays
# without network.
description = "No network, whatever else is allowed"
extends     = ["base"]

network {
  deny "everything" {
    hosts  = ["*", "0.0.0.0/0", "::/0"] # every name, every address
    reason = "the profile extends \"offline\", which has no network"
  }
}
