<?php

namespace App\Support;

class Child extends Keeper
{
}
