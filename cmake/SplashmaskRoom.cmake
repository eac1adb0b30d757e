# SPDX-License-Identifier: Apache-2.0
# One helper for every library target of the project.

# Everybody, the project included, writes #include "splashmask/<room>/...": one symlink a room in the
# build tree makes that true without a header of ours ever being found under a shorter name.
function(splashmask_link_room room)
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/include/splashmask)
  file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${room} ${PROJECT_BINARY_DIR}/include/splashmask/${room}
       SYMBOLIC)
endfunction()

# splashmask_library(name SOURCES ... DISPATCHED ... HEADERS ... DEPS ... PRIVATE_DEPS ...)
# makes splashmask_<name> with the alias splashmask::<name>. HEADERS are the public ones, written as
# they are included ("masks/mask.h"); every other header stays private and is not installed.
# DISPATCHED are the sources that Highway compiles once for each of its targets.
function(splashmask_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DISPATCHED;HEADERS;DEPS;PRIVATE_DEPS" ${ARGN})
  set(target splashmask_${name})
  add_library(${target} STATIC ${ARG_SOURCES} ${ARG_DISPATCHED})
  set_source_files_properties(${ARG_DISPATCHED} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  add_library(splashmask::${name} ALIAS ${target})
  list(TRANSFORM ARG_HEADERS PREPEND ${PROJECT_BINARY_DIR}/include/splashmask/)
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_BINARY_DIR}/include
                 FILES ${ARG_HEADERS})
  target_link_libraries(${target} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS}
                        PRIVATE $<BUILD_INTERFACE:splashmask_flags>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES
                        EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON CXX_EXTENSIONS OFF)
  set_property(GLOBAL APPEND PROPERTY SPLASHMASK_TARGETS ${target})
endfunction()

# Warnings and sanitizers, for our own targets alone.
add_library(splashmask_flags INTERFACE)
target_compile_options(splashmask_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor
                       # GCC 12 sees overlapping copies in any std::string + std::string.
                       $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
if(SPLASHMASK_WERROR)
  target_compile_options(splashmask_flags INTERFACE -Werror)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # Highway picks AVX2 or AVX-512 at run time; this is the baseline for everything else.
  target_compile_options(splashmask_flags INTERFACE -march=x86-64-v2)
  target_compile_definitions(splashmask_flags INTERFACE HWY_DISABLE_PCLMUL_AES)
endif()
# Vectors of unknown length cannot stand in arrays, as sums do: aarch64 is served by NEON.
target_compile_definitions(splashmask_flags INTERFACE
                           "HWY_DISABLED_TARGETS=(HWY_SVE|HWY_SVE2|HWY_SVE_256|HWY_SVE2_128)")
if(SPLASHMASK_SANITIZE)
  target_compile_definitions(splashmask_flags INTERFACE SPLASHMASK_SANITIZED)
  target_compile_options(splashmask_flags INTERFACE
                         -fsanitize=${SPLASHMASK_SANITIZE} -fno-sanitize-recover=all
                         -fno-omit-frame-pointer)
  # Whoever links a sanitized library of this build links the runtime too.
  target_link_options(splashmask_flags INTERFACE -fsanitize=${SPLASHMASK_SANITIZE})
endif()
