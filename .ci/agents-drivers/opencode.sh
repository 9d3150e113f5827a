#!/bin/bash
# opencode, Anthropic Messages API.
. "$(dirname "$0")/common.sh"
# Its own questions off, as with the others; it reaches it by the seed of the home folder.
merge_json "$HOME/.config/opencode/opencode.json" '{"permission": {"bash": "allow", "edit": "allow", "external_directory": "allow"}}'
setvar ANTHROPIC_API_KEY "$AGENT_KEY"
run run -m "${AGENT_MODEL:-anthropic/claude-sonnet-4-5}" "$AGENT_PROMPT"
