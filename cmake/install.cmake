# `cmake --install`: the library, its headers, the command-line tool, and what find_package(mhcjit) and pkg-config
# need. Every path in the installed files is relative to the prefix, so the installed tree can be moved as a whole.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mhcjit)

install(TARGETS mhcjit EXPORT mhcjitTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS mhcjit_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/mhcjit DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# The imported target is mhcjit::mhcjit. The library is shared and its headers are self-contained, so using it asks
# for none of the packages that it is built from.
install(EXPORT mhcjitTargets NAMESPACE mhcjit:: DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/mhcjitConfig.cmake.in ${PROJECT_BINARY_DIR}/mhcjitConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mhcjitConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mhcjitConfig.cmake ${PROJECT_BINARY_DIR}/mhcjitConfigVersion.cmake
  DESTINATION ${package_dir})

set(pkgconfig_dir ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH pc_prefix_from_pkgconfig ${pkgconfig_dir} ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH pc_libdir ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH pc_includedir ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(${CMAKE_CURRENT_LIST_DIR}/mhcjit.pc.in ${PROJECT_BINARY_DIR}/mhcjit.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/mhcjit.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
