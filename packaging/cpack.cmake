# Two Debian packages from a library that was built before: the library that programs load, and what builds programs.
# RS_SCRIPT_DEB_ARCHITECTURE names the machine in Debian's words; CMAKE_INSTALL_LIBDIR has its multiarch name. Without
# it nothing but a tree is made, for a .tar.gz.
set(RS_SCRIPT_DEB_ARCHITECTURE "" CACHE STRING "The machine of the Debian packages: amd64, arm64")
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME rs-script)
set(CPACK_PACKAGE_CONTACT "the rs_script maintainers <maintainers@rs-script.invalid>")
set(CPACK_PACKAGE_HOMEPAGE_URL "${PROJECT_HOMEPAGE_URL}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL runtime development)
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE "${RS_SCRIPT_DEB_ARCHITECTURE}")
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)

# A program is bound to the soname, so packages of two of them can be installed side by side.
set(runtime "librs-script${abi_version}")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME "${runtime}")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
# What the library was linked for, so that the packages need not be made where it runs.
set(CPACK_DEBIAN_RUNTIME_PACKAGE_DEPENDS "libc6 (>= 2.17)")
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "Lua scripts on Redis and Valkey without the edge cases
 The shared library that programs load.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA
  "${PROJECT_BINARY_DIR}/debian/triggers;${PROJECT_BINARY_DIR}/debian/shlibs")
file(WRITE "${PROJECT_BINARY_DIR}/debian/triggers" "activate-noawait ldconfig\n")
file(WRITE "${PROJECT_BINARY_DIR}/debian/shlibs"
  "librs_script ${abi_version} ${runtime} (>= ${PROJECT_VERSION})\n")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME librs-script-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "${runtime} (= ${PROJECT_VERSION}-1)")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "Lua scripts on Redis and Valkey without the edge cases (development)
 Headers for C and C++, the static library, and files for CMake and pkg-config.")
set(CPACK_OUTPUT_FILE_PREFIX "${PROJECT_BINARY_DIR}/deb")

# Each of the two has the licences; a .tar.gz has them once.
set(doc_names "${runtime}" librs-script-dev)
set(doc_components runtime development)
if(NOT RS_SCRIPT_DEB_ARCHITECTURE)
  set(doc_names rs_script)
  set(doc_components runtime)
endif()
foreach(name component IN ZIP_LISTS doc_names doc_components)
  set(doc "${CMAKE_INSTALL_DATADIR}/doc/${name}")
  install(FILES LICENSE DESTINATION "${doc}" COMPONENT ${component} RENAME copyright)
  install(FILES "${RS_SCRIPT_PREBUILT}/THIRD-PARTY-LICENSES" DESTINATION "${doc}" COMPONENT ${component})
endforeach()
include(CPack)
