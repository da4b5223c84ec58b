<?php

namespace Diffyne\Cluster;

/** Marks our own extension of the package's renderer. */
interface PackageRenderer
{
}
