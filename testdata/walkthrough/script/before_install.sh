#!/bin/sh
rm -rf /Tinitter
