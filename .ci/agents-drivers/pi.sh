#!/bin/bash
# pi, Anthropic Messages API.
. "$(dirname "$0")/common.sh"
setvar ANTHROPIC_API_KEY "$AGENT_KEY"
run --provider anthropic --model "${AGENT_MODEL:-claude-sonnet-4-5}" -p "$AGENT_PROMPT"
