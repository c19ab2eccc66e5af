# Data Open Sandbox. `make` alone lists the commands. Each one does its own set-up.
# 数据开放沙箱。直接运行 make 可列出全部命令，每条命令都会自行完成准备。
.DEFAULT_GOAL := list
.PHONY: list setup demo up test check bench
SHELL := /bin/bash

list:
	@echo "make setup   install into .venv from the locked list / 按锁定清单安装到 .venv"
	@echo "make demo    the story in one minute, on real processes / 一分钟演示，真实进程"
	@echo "make up      the same instance, left running, with logins / 启动演示实例并保持运行，给出登录名"
	@echo "make test    every test, with coverage / 全部测试与覆盖率"
	@echo "make check   style, types, contracts, unit tests / 风格、类型、依赖约定、单元测试"
	@echo "make bench   measure, and write docs/benchmarks.md; PEERS=1 beside other systems / 性能测量，写入 docs/benchmarks.md；PEERS=1 同时测量其他系统"

setup:
	@.ci/setup

demo: setup
	@.venv/bin/sandboxd demo

up: setup
	@.venv/bin/sandboxd demo --keep

test: setup
	@.ci/postgresql
	@.ci/test

check: setup
	@.ci/check

bench: setup
	@.venv/bin/python -m benchmarks $(if $(PEERS),--peers)
