# A small site, served by lighttpd.
class site (
  Integer $connections = 32,
) {
  user { 'site':
    ensure => present,
    system => true,
    home   => '/srv/site',
    shell  => '/usr/sbin/nologin',
  }

  file { '/srv/site':
    ensure => directory,
    owner  => 'site',
    group  => 'site',
  }

  file { '/srv/site/style.css':
    source => 'puppet:///modules/site/style.css',
    owner  => 'site',
    group  => 'site',
    mode   => '0644',
  }

  package { 'lighttpd':
    ensure => installed,
  }

  file { '/etc/lighttpd/instance.conf':
    content => epp('site/instance.conf.epp', { 'connections' => $connections }),
    mode    => '0644',
    require => Package['lighttpd'],
    notify  => Service['site'],
  }

  file { '/etc/systemd/system/site.service':
    content => epp('site/site.service.epp'),
    mode    => '0644',
  }

  # It is enabled; that it is started as well is told while the image is built, and not done.
  service { 'site':
    ensure  => running,
    enable  => true,
    require => File['/etc/systemd/system/site.service'],
  }

  service { 'lighttpd':
    enable => false,
  }
}
