defmodule Crema.Control do
  @moduledoc """
  What is done with a running consumer: pause and resume partitions, seek, commit, ask for positions
  and lag, change the subscription.

      :ok = Crema.pause(MyApp.Orders, {"orders", 0})
      {:ok, _} = Crema.seek(MyApp.Orders, {"orders", 0}, {:timestamp, 1_700_000_000_000})
      :ok = Crema.resume(MyApp.Orders, :all)
      {:ok, [%{topic: "orders", partition: 0, lag: _} | _]} = Crema.Control.lag(MyApp.Orders)

  All of it may be called by any process on any node, by the consumer's pid or name (`{name, node}`
  for a name of another node). Calls wait for up to 30 seconds, unless told how long.

  Partitions are `{topic, partition}`, a list of them, or `:all`, which are those that are assigned
  to this consumer at the moment. One that is named and is not assigned to it is
  `{:error, {:not_assigned, %{topic: _, partition: _}}}`, and nothing is done then.

  Erlang's `:crema_control` has the same functions.
  """

  use Crema.Bang

  @typedoc "A running consumer: its pid or its name, on this node or another."
  @type consumer :: Crema.client() | {name :: atom, node}

  @typedoc "The partitions that are meant."
  @type partitions :: :all | partition | [partition]
  @type partition :: {topic :: binary | atom, partition :: non_neg_integer}

  @typedoc """
  An offset, an end of the partition, or the first message that is not older than that time (a
  `DateTime`, or milliseconds since 1970).
  """
  @type where ::
          non_neg_integer
          | :earliest
          | :beginning
          | :latest
          | :end
          | {:timestamp, non_neg_integer | DateTime.t()}

  @typedoc "A position in a partition: the offset of the next message."
  @type offset :: %{topic: binary, partition: non_neg_integer, offset: non_neg_integer}

  @doc """
  Handles no more messages of these partitions: once the call under way is over, if there is one, no
  other begins. `:all` pauses partitions to come as well.

  A pause lasts until `resume/2`, across rebalances and restarts of the handler.
  """
  @spec pause(consumer, partitions) :: :ok | Crema.error()
  def pause(consumer, partitions), do: :crema_control.pause(consumer, partitions)

  @doc "Goes on where it was paused. `:all` ends every pause."
  @spec resume(consumer, partitions) :: :ok | Crema.error()
  def resume(consumer, partitions), do: :crema_control.resume(consumer, partitions)

  @doc """
  Goes on elsewhere in the log, backward or forward, and commits that position. A handler finishes
  the call it is at; then it begins anew there, with `init/2`. Tokens from before are
  `:stale_assignment`.
  """
  @spec seek(consumer, partitions, where, timeout) :: {:ok, [offset]} | Crema.error()
  def seek(consumer, partitions, where, timeout \\ 30_000),
    do: :crema_control.seek(consumer, partitions, where, timeout)

  @doc """
  Commits what is acknowledged now, and returns the positions that were committed. An error has
  `:results` in its details, one for each partition.
  """
  @spec commit(consumer, partitions, timeout) :: {:ok, [offset]} | Crema.error()
  def commit(consumer, partitions \\ :all, timeout \\ 30_000),
    do: :crema_control.commit(consumer, partitions, timeout)

  @doc "The same without waiting; a failure is the event `[:crema, :consumer, :commit_failed]`."
  @spec commit_async(consumer, partitions) :: :ok | Crema.error()
  def commit_async(consumer, partitions \\ :all),
    do: :crema_control.commit_async(consumer, partitions)

  @doc "Where the assigned partitions are; asks no broker."
  @spec position(consumer, partitions) :: {:ok, [:crema_control.position()]} | Crema.error()
  def position(consumer, partitions \\ :all), do: :crema_control.position(consumer, partitions)

  @doc "What the group has committed, as the brokers have it; `:none` without."
  @spec committed(consumer, partitions, timeout) ::
          {:ok, [%{topic: binary, partition: non_neg_integer, offset: non_neg_integer | :none}]}
          | Crema.error()
  def committed(consumer, partitions \\ :all, timeout \\ 30_000),
    do: :crema_control.committed(consumer, partitions, timeout)

  @doc "Where partitions begin (`:low`) and end (`:high`); asks the brokers."
  @spec watermarks(consumer, partitions, timeout) :: {:ok, [map]} | Crema.error()
  def watermarks(consumer, partitions \\ :all, timeout \\ 30_000),
    do: :crema_control.watermarks(consumer, partitions, timeout)

  @doc """
  How far the assigned partitions are behind; asks the brokers for their ends. `Crema.status/1` and
  `Crema.info/1` have what the last fetches told of it, without asking.
  """
  @spec lag(consumer, timeout) :: {:ok, [:crema_control.lag()]} | Crema.error()
  def lag(consumer, timeout \\ 30_000), do: :crema_control.lag(consumer, timeout)

  @doc "Subscribes to these topics, and to no others; one that begins with `^` is a pattern."
  @spec subscribe(consumer, binary | [binary], timeout) :: :ok | Crema.error()
  def subscribe(consumer, topics, timeout \\ 30_000),
    do: :crema_control.subscribe(consumer, topics, timeout)

  @doc "Subscribes to these topics as well."
  @spec add_topics(consumer, binary | [binary]) :: :ok | Crema.error()
  def add_topics(consumer, topics), do: :crema_control.add_topics(consumer, topics)

  @doc "No longer subscribes to these topics, named as they were subscribed to."
  @spec remove_topics(consumer, binary | [binary]) :: :ok | Crema.error()
  def remove_topics(consumer, topics), do: :crema_control.remove_topics(consumer, topics)

  @doc "The topics and patterns that the consumer is subscribed to."
  @spec subscription(consumer) :: {:ok, [binary]} | Crema.error()
  def subscription(consumer), do: :crema_control.subscription(consumer)
end
