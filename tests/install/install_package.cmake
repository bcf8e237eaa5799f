# Installs BUILD into a folder, moves that folder to PREFIX, and shows that the moved tree knows nothing of the folders
# SOURCE, BUILD and FOLDER: a path of the build machine in a package breaks it on every other machine.
file(REMOVE_RECURSE ${FOLDER})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${FOLDER}/first OUTPUT_QUIET
  COMMAND_ERROR_IS_FATAL ANY)
file(RENAME ${FOLDER}/first ${PREFIX})

file(GLOB headers RELATIVE ${SOURCE} ${SOURCE}/include/mhcjit/*)
foreach(file IN ITEMS bin/mhcjit ${headers} include/mhcjit/mhcjit.h
    ${LIBDIR}/libmhcjit.so ${LIBDIR}/pkgconfig/mhcjit.pc ${LIBDIR}/cmake/mhcjit/mhcjitConfig.cmake)
  if(NOT EXISTS ${PREFIX}/${file})
    message(SEND_ERROR "${file} is not installed")
  endif()
endforeach()

file(GLOB_RECURSE text_files ${PREFIX}/${LIBDIR}/*.cmake ${PREFIX}/${LIBDIR}/*.pc ${PREFIX}/include/*)
foreach(file IN LISTS text_files)
  file(READ ${file} text)
  foreach(foreign IN ITEMS ${SOURCE} ${BUILD} ${FOLDER} /usr/lib LLVM fmt:: /libcuda)
    string(FIND "${text}" "${foreign}" found)
    if(NOT found EQUAL -1)
      message(SEND_ERROR "${file} names ${foreign}")
    endif()
  endforeach()
endforeach()

foreach(binary IN ITEMS bin/mhcjit ${LIBDIR}/libmhcjit.so)
  execute_process(COMMAND readelf -d ${PREFIX}/${binary} OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCH "\\((RPATH|RUNPATH)\\)[^\n]*\\[/[^\n]*" path "${dynamic}")
  if(path)
    message(SEND_ERROR "${binary} looks for libraries in an absolute folder: ${path}")
  endif()
endforeach()

# A program of another minor version does not load it.
string(REGEX MATCH "^[0-9]+\\.[0-9]+" minor_version ${VERSION})
execute_process(COMMAND readelf -d ${PREFIX}/${LIBDIR}/libmhcjit.so OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
if(NOT dynamic MATCHES "\\(SONAME\\)[^\n]*\\[libmhcjit\\.so\\.${minor_version}\\]")
  message(SEND_ERROR "the library's soname is not libmhcjit.so.${minor_version}")
endif()

execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=LD_LIBRARY_PATH ${PREFIX}/bin/mhcjit --version
  OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(NOT version STREQUAL "mhcjit ${VERSION}")
  message(SEND_ERROR "the installed tool says '${version}', expected 'mhcjit ${VERSION}'")
endif()
