#!/bin/bash
PID=$(pgrep -f nothing-like-shop.jar)
if [ -n "$PID" ]; then
  kill "$PID"
fi
echo started
