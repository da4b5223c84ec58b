<?php

namespace Diffyne\Traits;

use Diffyne\Attributes\Invokable;
use Diffyne\Attributes\QueryString;
use Illuminate\Contracts\Pagination\LengthAwarePaginator;

/** The page of a list, in the page's address, and the methods that turn it. */
trait HasPagination
{
    #[QueryString(as: 'page', keep: true)]
    public int $page = 1;

    public int $perPage = 15;

    #[Invokable]
    public function nextPage(): void
    {
        $this->turnTo($this->page + 1);
    }

    #[Invokable]
    public function previousPage(): void
    {
        $this->turnTo($this->page - 1);
    }

    #[Invokable]
    public function goToPage(int $page): void
    {
        $this->turnTo($page);
    }

    protected function onPageChange(): void
    {
    }

    private function turnTo(int $page): void
    {
        $paginators = array_filter(get_object_vars($this), fn ($value) => $value instanceof LengthAwarePaginator);
        $page = max(1, min($page, reset($paginators)->lastPage()));
        if ($page !== $this->page) {
            $this->page = $page;
            $this->onPageChange();
        }
    }
}
