# SPDX-License-Identifier: Apache-2.0
# splashmask::splashmask, which is every library, and the installed package: relocatable, with the
# public headers alone, found by find_package(splashmask CONFIG).

get_property(splashmask_targets GLOBAL PROPERTY SPLASHMASK_TARGETS)
add_library(splashmask_all INTERFACE)
add_library(splashmask::splashmask ALIAS splashmask_all)
target_link_libraries(splashmask_all INTERFACE ${splashmask_targets})
set_target_properties(splashmask_all PROPERTIES EXPORT_NAME splashmask)

if(PROJECT_IS_TOP_LEVEL)
  include(CMakePackageConfigHelpers)
  set(splashmask_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/splashmask)
  install(TARGETS ${splashmask_targets} splashmask_all EXPORT splashmaskTargets FILE_SET HEADERS)
  install(EXPORT splashmaskTargets NAMESPACE splashmask:: DESTINATION ${splashmask_cmake_dir})
  write_basic_package_version_file(splashmaskConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_SOURCE_DIR}/cmake/splashmaskConfig.cmake
                ${CMAKE_CURRENT_BINARY_DIR}/splashmaskConfigVersion.cmake
          DESTINATION ${splashmask_cmake_dir})
endif()
