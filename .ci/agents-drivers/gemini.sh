#!/bin/bash
# Gemini CLI, Gemini API.
. "$(dirname "$0")/common.sh"
setvar GEMINI_API_KEY "$AGENT_KEY"
run --skip-trust --approval-mode yolo ${AGENT_MODEL:+-m "$AGENT_MODEL"} -p "$AGENT_PROMPT"
