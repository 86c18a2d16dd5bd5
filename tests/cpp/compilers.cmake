# What every compiler makes of the C++ headers: no warnings in any standard, errors where there must be some, and
# programs that run. GCC with its library, Clang with the same, and Clang with libc++, as systems of Apple's and BSD
# have it; scripts/setup installs them.
find_program(CLANGXX NAMES clang++ clang++-19 clang++-16 clang++-14 REQUIRED)
set(includes "-I${PROJECT_SOURCE_DIR}/include" "-I${PROJECT_SOURCE_DIR}/bindings/c")
file(GLOB headers CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/bindings/c/*.hpp" "${PROJECT_SOURCE_DIR}/bindings/c/rs_script/*.hpp")
set(compilers own clang libc++)
set(command_own "${CMAKE_CXX_COMPILER}")
set(command_clang "${CLANGXX}")
set(command_libc++ "${CLANGXX}" -stdlib=libc++)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  set(compilers own)
endif()

# Everything, in every standard, with and without exceptions, but for one in the middle that both neighbours have. To
# Clang's warnings its libraries add little: they share them out.
set(left_out_own 20.no-exceptions)
set(left_out_clang 17.no-exceptions 20.no-exceptions 23.exceptions)
set(left_out_libc++ 17.exceptions 20.exceptions 20.no-exceptions 23.no-exceptions)
foreach(compiler ${compilers})
  foreach(standard 17 20 23)
    foreach(exceptions exceptions no-exceptions)
      if("${standard}.${exceptions}" IN_LIST left_out_${compiler})
        continue()
      endif()
      # Clang says 2b where it is older than the standard.
      string(REPLACE 23 2b std "c++${standard}")
      add_test(NAME cpp.warnings.${compiler}.${standard}.${exceptions}
        COMMAND ${command_${compiler}} -std=${std} -f${exceptions} -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion
                -pedantic -Werror -fsyntax-only ${includes} "${CMAKE_CURRENT_SOURCE_DIR}/everything.cpp")
    endforeach()
  endforeach()
endforeach()

# Misuse does not compile. The message must point into the file, so that it is no other error that is found. The
# headers are compiled once, not for each case; and once for Clang, whatever its library.
file(STRINGS refused.cpp cases REGEX "^#(ifdef|elif defined) ")
list(TRANSFORM cases REPLACE "^#[a-z ]+ " "")
list(LENGTH cases count)
if(count LESS 50)
  message(FATAL_ERROR "only ${count} cases were found in refused.cpp")
endif()
set(refusing ${compilers})
list(REMOVE_ITEM refusing libc++)
foreach(compiler ${refusing})
  set(knows_lifetimes TRUE)
  if(compiler STREQUAL "own" AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    set(knows_lifetimes FALSE)
  endif()
  set(compile ${command_${compiler}} -std=c++17 -Wall -Wextra ${includes})
  set(prefix "${CMAKE_CURRENT_BINARY_DIR}/refused_${compiler}.hpp")
  file(CONFIGURE OUTPUT "${prefix}" CONTENT "#include <rs_script_async.hpp>\n")
  add_custom_command(OUTPUT "${prefix}.gch" COMMAND ${compile} -x c++-header "${prefix}" -o "${prefix}.gch"
    DEPENDS ${headers} "${PROJECT_SOURCE_DIR}/include/rs_script.h" VERBATIM)
  add_custom_target(cpp_refused_${compiler} ALL DEPENDS "${prefix}.gch")
  if(knows_lifetimes)
    list(APPEND compile -include-pch "${prefix}.gch")
  else()
    list(APPEND compile -include "${prefix}")
  endif()
  list(APPEND compile -fsyntax-only -fno-diagnostics-color "${CMAKE_CURRENT_SOURCE_DIR}/refused.cpp")
  add_test(NAME cpp.refused.${compiler}.nothing_else COMMAND ${compile} -Werror)
  foreach(case ${cases})
    set(strict -Wno-unused)
    if(case MATCHES "^IGNORED_")
      set(strict -Werror=unused-result)
    elseif(case MATCHES "^DANGLING_")
      if(NOT knows_lifetimes)
        continue() # GCC has nothing to know it by
      endif()
      set(strict -Wno-unused -Werror=dangling -Werror=return-stack-address)
    elseif(NOT compiler STREQUAL "own")
      continue() # what one compiler refuses by the language's rules the other does too
    endif()
    add_test(NAME cpp.refused.${compiler}.${case} COMMAND ${compile} ${strict} -D${case})
    set_tests_properties(cpp.refused.${compiler}.${case} PROPERTIES
      PASS_REGULAR_EXPRESSION "refused.cpp:[0-9]+:[0-9]+: (error|note: in inst|  required from)")
  endforeach()
endforeach()

# Programs of the other compilers. CMake knows one compiler a language, so they are made by hand.
function(add_program_of compiler standard name)
  set(program "${CMAKE_CURRENT_BINARY_DIR}/${name}_${compiler}")
  add_custom_command(OUTPUT "${program}"
    COMMAND ${command_${compiler}} -std=${standard} -g -Wall -Wextra -Wshadow -Werror -pedantic
            -D_XOPEN_SOURCE=700 -D_DEFAULT_SOURCE "-DCARGO_VERSION=\"${PROJECT_VERSION}\""
            ${includes} "-I${support_dir}/.." ${ARGN} "${CMAKE_CURRENT_SOURCE_DIR}/${name}.cpp"
            $<TARGET_FILE:scenario_support> $<TARGET_FILE:test_support> "${lib_dir}/${shared_real}"
            "-Wl,-rpath,${lib_dir}" ${CJSON_LINK_LIBRARIES}
            -pthread -o "${program}"
    DEPENDS "${name}.cpp" ${headers} scenario_support test_support rs_script_cargo
    VERBATIM)
  add_custom_target(cpp_${name}_${compiler} ALL DEPENDS "${program}")
  add_test(NAME cpp.${name}.${compiler} COMMAND "${program}")
  set_tests_properties(cpp.${name}.${compiler} PROPERTIES TIMEOUT 900 COST 50)
endfunction()

if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(CJSON REQUIRED libcjson)
  add_program_of(clang c++17 scenarios)
  add_program_of(clang c++20 coroutines)
  add_program_of(clang c++17 arguments)
  add_program_of(libc++ c++20 scenarios)
  add_program_of(libc++ c++17 arguments)
  add_program_of(libc++ c++2b conversions)
  add_program_of(libc++ c++20 async)
  add_program_of(libc++ c++20 no_exceptions -fno-exceptions)
endif()
