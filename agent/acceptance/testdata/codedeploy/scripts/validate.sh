#!/bin/bash
grep -q shop web/index.html
