# SPDX-License-Identifier: Apache-2.0
# find_package and pkg_check_modules that say which Debian package is missing.

# splashmask_find(<Debian packages> <arguments of find_package>...)
macro(splashmask_find debian name)
  find_package(${name} QUIET ${ARGN})
  if(NOT ${name}_FOUND)
    message(FATAL_ERROR "splashmask needs ${name}: apt-get install ${debian}")
  endif()
endmacro()

# splashmask_find_module(<Debian package> <prefix> <module of pkg-config>)
macro(splashmask_find_module debian prefix module)
  pkg_check_modules(${prefix} QUIET IMPORTED_TARGET ${module})
  if(NOT ${prefix}_FOUND)
    message(FATAL_ERROR "splashmask needs ${module}: apt-get install ${debian}")
  endif()
endmacro()
