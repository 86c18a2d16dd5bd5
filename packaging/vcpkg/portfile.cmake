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
file(COPY ${libraries} DESTINATION "${CURRENT_PACKAGES_DIR}/lib" FOLLOW_SYMLINK_CHAIN)
file(COPY ${libraries} DESTINATION "${CURRENT_PACKAGES_DIR}/debug/lib" FOLLOW_SYMLINK_CHAIN)
vcpkg_install_copyright(FILE_LIST "${source}/share/doc/librs-script-dev/copyright")
