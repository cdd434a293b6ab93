class { 'site':
  connections => 64,
}
