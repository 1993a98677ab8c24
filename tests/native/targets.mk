# Builds of the core beside the one that is installed: sanitizers, other compilers, other processors. Each configures a
# folder of build/ and rebuilds there what has changed.

NATIVE := tests/native
CMAKE := $(abspath $(VENV))/bin/cmake
FUZZ_SECONDS ?= 60
DRIVER_ARGS ?=

# $(call configure,folder,options): core and driver, without Python, warnings as errors
configure = PATH="$(abspath $(VENV))/bin:$$PATH" $(CMAKE) -S . -B build/$(1) -G Ninja -DCONVPOOL_EXTENSION=OFF \
  -DCONVPOOL_NATIVE_TESTS=ON -DCONVPOOL_WERROR=ON $(2) >/dev/null
build = PATH="$(abspath $(VENV))/bin:$$PATH" $(CMAKE) --build build/$(1)

.PHONY: driver asan tsan fuzz aarch64 warnings

# Tile registers are emulated where the processor has none, and where sanitizers have to see what they read.
driver: $(STAMPS)/tools
	$(call configure,driver,-DCONVPOOL_EMULATE_TILES=$(if $(shell grep amx_bf16 /proc/cpuinfo),OFF,ON))
	$(call build,driver)
	build/driver/tests/native/driver $(DRIVER_ARGS)

# The extension with AddressSanitizer and UndefinedBehaviorSanitizer under the whole suite. Python knows nothing of
# them, so the libraries are loaded before it; what it never frees is no leak of ours. Reports go to the real stderr.
asan: $(STAMPS)/test $(STAMPS)/train $(STAMPS)/tools
	$(call configure,asan,-DCONVPOOL_EXTENSION=ON -DCONVPOOL_NATIVE_TESTS=OFF -DCONVPOOL_WERROR=OFF -DCMAKE_CXX_COMPILER=g++ \
	  -DCONVPOOL_SANITIZE=address$(comma)undefined -DCONVPOOL_EMULATE_TILES=ON -DPython_EXECUTABLE=$(abspath $(RUN)) \
	  -Dpybind11_DIR=$$($(RUN) -m pybind11 --cmakedir))
	$(call build,asan)
	mkdir -p build/asan/package && cp -r python/convpool build/asan/package/ && cp build/asan/_core*.so build/asan/package/convpool/
	PYTHONPATH=$(abspath build/asan/package) CONVPOOL_SANITIZED=1 \
	  LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so) $$(g++ -print-file-name=libstdc++.so.6)" \
	  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=32 UBSAN_OPTIONS=print_stacktrace=1 \
	  $(RUN) -m pytest --capture=sys $(ARGS)

# ThreadSanitizer on the driver: threads are our own, OpenMP only says how many. A sum with a race must be reported.
TSAN_DRIVER = TSAN_OPTIONS=ignore_noninstrumented_modules=1 setarch $$(uname -m) -R build/tsan/tests/native/driver
tsan: $(STAMPS)/tools
	$(NATIVE)/require.sh clang++=clang "/usr/lib/llvm-*/lib/libomp.so=libomp-dev" "/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.tsan*=libclang-rt-dev"
	$(call configure,tsan,-DCMAKE_CXX_COMPILER=clang++ -DCONVPOOL_SANITIZE=thread -DCONVPOOL_EMULATE_TILES=ON)
	$(call build,tsan)
	! $(TSAN_DRIVER) --race >build/tsan/race.txt 2>&1 && grep -q "WARNING: ThreadSanitizer: data race" build/tsan/race.txt
	$(TSAN_DRIVER) --threads 1 --threads 3 $(or $(DRIVER_ARGS),--quick)

# libFuzzer on the shape arithmetic, from the malformed calls of the corpus and what earlier runs found.
fuzz: $(STAMPS)/test
	$(NATIVE)/require.sh clang++=clang "/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer*=libclang-rt-dev"
	mkdir -p build/fuzz/found
	$(RUN) $(NATIVE)/seeds.py build/fuzz/seeds
	clang++ -std=c++17 -O1 -g -Icpp -fsanitize=fuzzer$(comma)address$(comma)undefined$(comma)integer -fno-sanitize-recover=all \
	  -fsanitize-ignorelist=$(NATIVE)/ignored.txt $(NATIVE)/fuzz_geometry.cpp $(wildcard cpp/geometry/*.cpp) -o build/fuzz/fuzz
	build/fuzz/fuzz -max_total_time=$(FUZZ_SECONDS) -timeout=30 -artifact_prefix=build/fuzz/ -print_final_stats=1 \
	  -verbosity=0 build/fuzz/found build/fuzz/seeds

# The core for 64-bit ARM, run under emulation.
aarch64: $(STAMPS)/tools
	$(NATIVE)/require.sh aarch64-linux-gnu-g++=g++-aarch64-linux-gnu qemu-aarch64-static=qemu-user-static
	$(call configure,aarch64,-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++)
	$(call build,aarch64)
	qemu-aarch64-static -L /usr/aarch64-linux-gnu build/aarch64/tests/native/driver --threads 1 --threads 3 $(or $(DRIVER_ARGS),--quick)

# Everything that is ours without a warning, by both compilers.
warnings: $(STAMPS)/test $(STAMPS)/tools
	$(NATIVE)/require.sh clang++=clang
	for compiler in g++ clang++; do \
	  $(call configure,warnings-$$compiler,-DCONVPOOL_EXTENSION=ON -DCMAKE_CXX_COMPILER=$$compiler \
	    -DPython_EXECUTABLE=$(abspath $(RUN)) -Dpybind11_DIR=$$($(RUN) -m pybind11 --cmakedir)) && \
	  $(call build,warnings-$$compiler) || exit 1; \
	done

$(STAMPS)/tools: | $(STAMPS)/venv
	$(PIP) install cmake ninja "pybind11>=2.13"
	@touch $@

comma := ,
