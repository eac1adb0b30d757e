# SPDX-License-Identifier: Apache-2.0
# Every tests/<room>/fuzz_<name>.cc is a libFuzzer program.
file(GLOB fuzzer_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/*/fuzz_*.cc)
foreach(source IN LISTS fuzzer_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE splashmask::splashmask splashmask_test_support
                                        splashmask_flags)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzzers)
endforeach()
