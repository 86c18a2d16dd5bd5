"""Builds the multiply program with the package, and runs it on the two servers at RS_TEST_URLS."""

import os

from conan import ConanFile
from conan.tools.build import can_run
from conan.tools.cmake import CMake, cmake_layout


class TestPackage(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    generators = "CMakeDeps", "CMakeToolchain"

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        cmake_layout(self)

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def test(self):
        urls = os.environ.get("RS_TEST_URLS", "")
        if can_run(self) and urls:
            self.run(f"{os.path.join(self.cpp.build.bindir, 'multiply')} {urls}", env="conanrun")
