#!/usr/bin/env bash
# make demo: plants canaries on the host, runs agent.sh in the jail with the built-in
# default profile, and shows what it got. Fails if anything got through.
# shellcheck disable=SC2317 # check calls the functions
set -euo pipefail
cd "$(dirname "$0")/../.."

agentjail=$PWD/agentjail
demo=$PWD/dist/demo
# The trail stays with your own runs, so that `agentjail logs` finds it afterwards.
export XDG_STATE_HOME=${XDG_STATE_HOME:-$HOME/.local/state}

heading() { printf '\n== %s\n' "$*"; }
random() { od -An -N12 -tx1 /dev/urandom | tr -d ' \n'; }

rm -rf "$demo"
home=$demo/home
project=$home/project
mkdir -p "$home/.ssh" "$project"
chmod 700 "$home" "$home/.ssh"

# The canaries: a key, a variable, a file of the workspace, a process.
key=canary-key-$(random)
secret=canary-secret-$(random)
printf -- '-----BEGIN OPENSSH PRIVATE KEY-----\n%s\n-----END OPENSSH PRIVATE KEY-----\n' "$key" >"$home/.ssh/id_ed25519"
chmod 600 "$home/.ssh/id_ed25519"
cp testdata/demo/agent.sh "$project/agent.sh"
printf 'line %s of the app\n' 1 2 3 >"$project/app.txt"
# In a fresh container the host's pids are as small as the jail's: go past those.
while sleep 600 & canary=$!; [ "$canary" -lt 1000 ]; do
	kill "$canary"
	wait "$canary" 2>/dev/null || true
	for _ in {1..50}; do (:); done
done
trap 'kill "$canary" 2>/dev/null || true' EXIT
# Waits for nothing else: a pid of ours that is gone would be a zombie until reaped.
alive() { kill -0 "$canary" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$canary/status"; }

checksums() { (cd "$home" && find . -type f -exec sha256sum {} + | sort -k 2); }
before=$(checksums)

heading "agentjail run -- sh ./agent.sh"
status=0
(cd "$project" && HOME=$home AWS_SECRET_ACCESS_KEY=$secret \
	"$agentjail" run --artifacts "$demo/artifacts" --status-fd 3 -- sh ./agent.sh "$home" "$canary") \
	3>"$demo/status.json" </dev/null 2>&1 | tee "$demo/output.txt" || status=$?
if [ "$status" -ne 0 ]; then
	printf '\ndemo: the agent did not run (exit %s); ./agentjail doctor says what this host lacks\n' "$status" >&2
	exit 1
fi
run=$(sed -n 's/.*"\(run_id\|run\|id\)" *: *"\([^"]*\)".*/\2/p' "$demo/status.json" | head -n 1)
trail=$XDG_STATE_HOME/agentjail/runs/$run/audit.jsonl

heading "what the trail says was refused: agentjail logs $run"
"$agentjail" logs "$run" | grep -iE 'block|refus|den(y|ied)|escape' || echo "(nothing that a policy decided)"

heading "what it wrote: $demo/artifacts"
(cd "$demo/artifacts" && find . -type f | sort)
echo
cat "$demo/artifacts/changes.patch"

heading "what became of the host"
bad=0
check() { # check WHAT COMMAND...
	local what=$1
	shift
	if "$@"; then
		printf '  ok      %s\n' "$what"
	else
		printf '  BROKEN  %s\n' "$what"
		bad=1
	fi
}
nothing_through() { ! grep -q 'GOT THROUGH' "$demo/output.txt"; }
attempted() { [ "$(grep -cE '^  refused ' "$demo/output.txt")" -ge 10 ]; }
unchanged() { [ "$before" = "$(checksums)" ]; }
unseen() { ! grep -rqF -e "$key" -e "$secret" "$demo/output.txt" "$demo/artifacts" "$trail"; }
verified() { "$agentjail" verify "$run" >/dev/null; }
check "the agent made its attempts ($(grep -cE '^  refused ' "$demo/output.txt" || true) refused, $(grep -cE '^  not tried ' "$demo/output.txt" || true) not tried for want of a program)" attempted
check "nothing got through" nothing_through
check "the files of the home folder and the workspace have the same SHA-256 as before" unchanged
check "the process it tried to kill is alive" alive
check "the trail is there" test -s "$trail"
check "key and secret are nowhere in its output, the artifacts or the trail" unseen
check "the trail's chain holds: agentjail verify" verified

cat <<END

The trail:      $trail
The artifacts:  $demo/artifacts
Look again:     ./agentjail logs $run
END
exit "$bad"
