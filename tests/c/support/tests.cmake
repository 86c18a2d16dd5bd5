# How C and C++ tests are compiled and run: warnings are errors, under sanitizers or valgrind when asked for.

find_package(Threads REQUIRED)
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_EXTENSIONS OFF)

add_library(test_settings INTERFACE)
target_compile_options(test_settings INTERFACE -Wall -Wextra -Werror -pedantic -g1)
# _DARWIN_C_SOURCE keeps what POSIX alone would hide there.
target_compile_definitions(test_settings INTERFACE _XOPEN_SOURCE=700 _DEFAULT_SOURCE _DARWIN_C_SOURCE
  CARGO_VERSION="${PROJECT_VERSION}")
target_link_libraries(test_settings INTERFACE rs_script::rs_script Threads::Threads ${CMAKE_DL_LIBS})
if(RS_SCRIPT_SANITIZE)
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(test_settings INTERFACE ${sanitizers})
  target_link_options(test_settings INTERFACE ${sanitizers})
endif()

# What a test is run by.
set(launcher)
if(RS_SCRIPT_VALGRIND)
  find_program(VALGRIND valgrind REQUIRED)
  # A failed test ends without freeing what it holds; only a good end is asked whether it lost anything.
  set(launcher "${VALGRIND}" --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite
    --errors-for-leak-kinds=definite --child-silent-after-fork=yes --fair-sched=try
    --soname-synonyms=somalloc=nouserintercepts) # a test's own operator new stays its own
endif()

set(support_dir "${CMAKE_CURRENT_LIST_DIR}")

# Adds a program that is not a test by itself.
function(add_test_program name)
  add_executable(${name} ${ARGN})
  # Or the compiler would keep silent about the headers under test.
  set_target_properties(${name} PROPERTIES NO_SYSTEM_FROM_IMPORTED ON)
  target_link_libraries(${name} PRIVATE test_settings)
endfunction()

# Adds a test of a C or C++ file, run with servers of its own. What takes longer than a quarter of an hour hangs.
function(add_server_test prefix file)
  get_filename_component(name ${file} NAME_WE)
  add_test_program(${prefix}_${name} ${file})
  target_link_libraries(${prefix}_${name} PRIVATE test_support)
  target_include_directories(${prefix}_${name} PRIVATE "${support_dir}/..")
  add_test(NAME ${prefix}.${name} COMMAND ${launcher} $<TARGET_FILE:${prefix}_${name}>)
  set_tests_properties(${prefix}.${name} PROPERTIES TIMEOUT 900)
  # The longest begins first.
  if(name STREQUAL "scenarios")
    set_tests_properties(${prefix}.${name} PROPERTIES COST 100)
  endif()
  if(RS_SCRIPT_VALGRIND)
    # Fewer rounds: see `often` in check.h.
    set_property(TEST ${prefix}.${name} PROPERTY ENVIRONMENT RS_SCRIPT_SLOW=1)
  endif()
endfunction()
