# Writes the example in a header's opening comment to a C or C++ file: -DHEADER=, -DEXAMPLE=. The URL comes from the
# environment there.
file(READ "${HEADER}" text)
if(NOT text MATCHES "// EXAMPLE[^\n]*\n//\n((//     [^\n]*\n|//\n)+)")
  message(FATAL_ERROR "${HEADER} has no example")
endif()
string(REGEX REPLACE "(^|\n)//    ? ?" "\\1" code "${CMAKE_MATCH_1}")
set(url "\"redis://127.0.0.1:6379\"")
string(FIND "${code}" "${url}" place)
if(place EQUAL -1)
  message(FATAL_ERROR "the example in ${HEADER} opens no ${url}")
endif()
string(REPLACE "${url}" "getenv(\"RS_SCRIPT_URL1\")" code "${code}")
file(WRITE "${EXAMPLE}" "#include <stdlib.h>\n${code}")
