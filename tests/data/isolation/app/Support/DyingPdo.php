<?php

namespace App\Support;

/** A connection whose server has closed it, once the file `dead` says so. */
class DyingPdo extends \PDO
{
    private int $born;

    public function __construct(string $dsn)
    {
        parent::__construct($dsn);
        $this->setAttribute(self::ATTR_ERRMODE, self::ERRMODE_EXCEPTION);
        $this->born = hrtime(true);
    }

    public function prepare(string $query, array $options = []): \PDOStatement|false
    {
        if ((int) @file_get_contents(base_path('dead')) > $this->born) {
            throw new \PDOException('SQLSTATE[HY000]: General error: 2006 MySQL server has gone away');
        }

        return parent::prepare($query, $options);
    }
}
