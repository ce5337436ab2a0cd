defmodule Crema.Pool do
  @moduledoc """
  Several producers under one name, as a child of your own supervisor.

      children = [
        {Crema.Pool, name: MyApp.Pool, size: 3, bootstrap_servers: "localhost:9092"}
      ]

  `MyApp.Pool` is then taken wherever a producer is: a call goes to the member of the caller's
  scheduler, or to the next one while that is being started again. `with/3` gives a member to one
  process alone, and so does a transaction.

  ## Options

  Those of `Crema.Producer`, for all members, and the pool's own:

    * `:name`, as for a `GenServer`: an atom, `{:global, term}` or `{:via, module, term}`
    * `:size` (5), the number of producers
    * `:checkout_timeout` (5000 ms), how long `with/3` and `checkout/1` wait for a member
    * `:producer`, a function that is called with each producer's number, from 1 on, and returns
      options that this one has over the others. Without it a `transactional.id` gets that number
      behind (`"id-1"`, ...)
  """

  use Crema.Bang

  @typedoc "The options above."
  @type options :: keyword | %{optional(atom) => term}

  @typedoc "A running pool: its pid or its name."
  @type pool :: pid | atom | {:global, term} | {:via, module, term}

  @doc "The child specification for a supervisor."
  @spec child_spec(options) :: Supervisor.child_spec()
  def child_spec(opts), do: Crema.Options.child_spec(opts, &:crema_pool.child_spec/1)

  @doc "Starts a pool linked to the caller."
  @spec start_link(options) :: {:ok, pid} | {:error, term}
  def start_link(opts), do: :crema_pool.start_link(opts)

  @doc "Stops a pool: its producers flush, side by side, each for its `:flush_timeout`."
  @spec stop(pool) :: :ok
  def stop(pool), do: :crema_pool.stop(pool)

  @doc "Like `stop/1`, flushing for at most `timeout` milliseconds."
  @spec stop(pool, timeout) :: :ok
  def stop(pool, timeout), do: :crema_pool.stop(pool, timeout)

  @doc """
  Runs a function with a member that nobody else gets meanwhile.

      {:ok, result} = Crema.Pool.with(MyApp.Pool, &Crema.produce(&1, %{topic: "orders", value: "one"}))

  `:timeout` (the pool's `:checkout_timeout`) is how long to wait for a member, in milliseconds or
  `:infinity`; then it is `{:error, {:pool_timeout, _}}`. Within such a function it gives the same
  member again.
  """
  @spec with(pool, (Crema.client() -> value), keyword | map) :: {:ok, value} | Crema.error()
        when value: term
  def with(pool, fun, opts \\ []), do: :crema_pool.with(pool, fun, Map.new(opts))

  @doc "A member for the calling process, which has to give it back: `with/3` is safer."
  @spec checkout(pool) :: {:ok, pid} | Crema.error()
  def checkout(pool), do: :crema_pool.checkout(pool)

  @doc "Like `checkout/1`, waiting for at most `timeout` milliseconds."
  @spec checkout(pool, timeout) :: {:ok, pid} | Crema.error()
  def checkout(pool, timeout), do: :crema_pool.checkout(pool, timeout)

  @doc "Gives a member back."
  @spec checkin(pool, pid) :: :ok | Crema.error()
  def checkin(pool, member), do: :crema_pool.checkin(pool, member)

  @doc "How many members there are, and how many are free, taken and waited for."
  @spec stats(pool) :: %{atom => non_neg_integer} | Crema.error()
  def stats(pool), do: :crema_pool.stats(pool)
end
