#!/bin/bash
rm -rf /opt/app
echo cleaned
