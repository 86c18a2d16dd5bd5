# A port for vcpkg: the libraries of a release, as they were built. scripts/package fills in version and checksums.
if(VCPKG_TARGET_ARCHITECTURE STREQUAL "x64")
    set(target x86_64-unknown-linux-gnu)
    set(checksum @SHA512_x86_64@)
else()
    set(target aarch64-unknown-linux-gnu)
    set(checksum @SHA512_aarch64@)
endif()
vcpkg_download_distfile(archive
    URLS "https://github.com/rs-script/rs_script/releases/download/v${VERSION}/rs_script-${VERSION}-${target}.tar.gz"
    FILENAME "rs_script-${VERSION}-${target}.tar.gz"
    SHA512 "${checksum}")
vcpkg_extract_source_archive(source ARCHIVE "${archive}")
file(COPY "${source}/include" DESTINATION "${CURRENT_PACKAGES_DIR}")
if(VCPKG_LIBRARY_LINKAGE STREQUAL "static")
    file(GLOB libraries "${source}/lib/librs_script.a")
else()
    file(GLOB libraries "${source}/lib/librs_script.so*")
endif()
foreach(folder lib debug/lib)
    file(COPY ${libraries} "${source}/lib/pkgconfig"
        DESTINATION "${CURRENT_PACKAGES_DIR}/${folder}" FOLLOW_SYMLINK_CHAIN)
endforeach()
vcpkg_fixup_pkgconfig()
file(COPY "${source}/lib/cmake" DESTINATION "${CURRENT_PACKAGES_DIR}/lib")
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/rs_script)
set(doc "${source}/share/doc/rs_script")
vcpkg_install_copyright(FILE_LIST "${doc}/copyright" "${doc}/THIRD-PARTY-LICENSES")
