"""Packages an rs_script that was built before: the .tar.gz files beside the folder of this recipe.

    conan create conan
"""

import os

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.files import copy


class RsScript(ConanFile):
    name = "rs_script"
    version = "@VERSION@"
    description = "Lua scripts on Redis and Valkey without the edge cases"
    license = "MIT OR Apache-2.0"
    url = "https://github.com/rs-script/rs_script"
    topics = ("redis", "valkey", "lua")
    package_type = "library"
    settings = "os", "arch"
    options = {"shared": [True, False]}
    default_options = {"shared": False}

    def _target(self):
        machines = {"x86_64": "x86_64", "armv8": "aarch64"}
        libc = "musl" if self.conf.get("user.rs_script:libc", "gnu") == "musl" else "gnu"
        return f"{machines[str(self.settings.arch)]}-unknown-linux-{libc}"

    def export_sources(self):
        copy(self, "rs_script-*-linux-*.tar.gz", os.path.dirname(self.recipe_folder), self.export_sources_folder)

    def validate(self):
        if self.settings.os != "Linux" or self.settings.arch not in ("x86_64", "armv8"):
            raise ConanInvalidConfiguration("rs_script is packaged for Linux on x86_64 and armv8")

    def package(self):
        name = f"rs_script-{self.version}-{self._target()}"
        tree = os.path.join(self.build_folder, name)
        self.run(f'tar -xzf "{os.path.join(self.source_folder, name)}.tar.gz"', cwd=self.build_folder)
        copy(self, "*", os.path.join(tree, "include"), os.path.join(self.package_folder, "include"))
        copy(self, "*", os.path.join(tree, "share/doc/rs_script"), os.path.join(self.package_folder, "licenses"))
        pattern = "librs_script.so*" if self.options.shared else "librs_script.a"
        copy(self, pattern, os.path.join(tree, "lib"), os.path.join(self.package_folder, "lib"))

    def package_info(self):
        self.cpp_info.libs = ["rs_script"]
        self.cpp_info.set_property("cmake_file_name", "rs_script")
        self.cpp_info.set_property("cmake_target_name", "rs_script::rs_script")
        self.cpp_info.set_property("pkg_config_name", "rs_script")
        if not self.options.shared:
            self.cpp_info.system_libs = ["pthread", "dl", "m", "rt", "util"]
