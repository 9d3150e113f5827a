#!/bin/bash
# Qwen Code, OpenAI Chat Completions at DashScope's address.
. "$(dirname "$0")/common.sh"
setvar DASHSCOPE_API_KEY "$AGENT_KEY"
run --auth-type openai --approval-mode yolo -m "${AGENT_MODEL:-qwen3-coder-plus}" -p "$AGENT_PROMPT"
