defmodule Crema.Cluster do
  @moduledoc """
  An embedded Kafka cluster for tests and demonstrations: no JVM, no files, started in
  milliseconds.

      {:ok, cluster} = Crema.Cluster.start_link(topics: %{"orders" => 4})
      bootstrap = Crema.Cluster.bootstrap_servers(cluster)

  It is librdkafka's mock cluster: it speaks the real protocol on real sockets of 127.0.0.1, and
  other programs of the machine can connect too. It keeps messages in memory, and only the newest
  of them: 5 MiB or 100 000 message sets a partition. The first member of a consumer group waits
  3 seconds for others to join.

  ## Options

  A keyword list or a map:

    * `:topics`, topics and their number of partitions, a map or a keyword list; others are made
      when they are first used
    * `:brokers` (1), how many brokers it has
    * `:name`, as for a `GenServer`
  """

  @typedoc "The options above."
  @type options :: keyword | %{optional(atom) => term}

  @doc "The child specification for a supervisor."
  @spec child_spec(options) :: Supervisor.child_spec()
  def child_spec(opts), do: Crema.Options.child_spec(opts, &:crema_cluster.child_spec/1)

  @doc "Starts a cluster linked to the caller."
  @spec start_link(options) :: {:ok, pid} | {:error, term}
  def start_link(opts \\ []), do: :crema_cluster.start_link(opts)

  @doc "The `\"host:port,...\"` that clients connect to."
  @spec bootstrap_servers(Crema.client()) :: binary
  def bootstrap_servers(cluster), do: :crema_cluster.bootstrap_servers(cluster)

  use Crema.Bang

  @doc "Creates a topic with so many partitions."
  @spec create_topic(Crema.client(), iodata, pos_integer) :: :ok | Crema.error()
  def create_topic(cluster, topic, partitions),
    do: :crema_cluster.create_topic(cluster, topic, partitions)

  @doc """
  Has each broker answer its next requests of a kind by errors, one after another; `{error, late}`
  comes so many milliseconds late, `:transport` closes the connection.

      :ok = Crema.Cluster.fail(cluster, :produce, [:not_leader_for_partition, {:no_error, 500}])
  """
  @spec fail(Crema.client(), :crema_cluster.request(), [:crema_cluster.answer()]) :: :ok
  def fail(cluster, request, answers), do: :crema_cluster.fail(cluster, request, answers)

  @doc """
  Has brokers answer everything so many milliseconds late, until that is said anew: all of them, or
  one, by its number from 1 on.
  """
  @spec slow(Crema.client(), non_neg_integer) :: :ok
  def slow(cluster, millis), do: :crema_cluster.slow(cluster, millis)

  @doc "Like `slow/2`, of one broker."
  @spec slow(Crema.client(), pos_integer, non_neg_integer) :: :ok
  def slow(cluster, broker, millis), do: :crema_cluster.slow(cluster, broker, millis)

  @doc "Stops all brokers: connections are closed, and none is accepted. They keep what they hold."
  @spec down(Crema.client()) :: :ok
  def down(cluster), do: :crema_cluster.down(cluster)

  @doc "Stops one broker. Partitions that it leads get no other leader."
  @spec down(Crema.client(), pos_integer) :: :ok
  def down(cluster, broker), do: :crema_cluster.down(cluster, broker)

  @doc "Starts all brokers again."
  @spec up(Crema.client()) :: :ok
  def up(cluster), do: :crema_cluster.up(cluster)

  @doc "Starts a broker again."
  @spec up(Crema.client(), pos_integer) :: :ok
  def up(cluster, broker), do: :crema_cluster.up(cluster, broker)

  @doc "Has the members of a group join it anew, as the first of them hears at its next heartbeat."
  @spec rebalance(Crema.client()) :: :ok
  def rebalance(cluster), do: :crema_cluster.rebalance(cluster)

  @doc "Puts a member out of its group: the one whose heartbeat comes first. It joins anew."
  @spec evict(Crema.client()) :: :ok
  def evict(cluster), do: :crema_cluster.evict(cluster)

  @doc "Stops a cluster; what it held is gone."
  @spec stop(Crema.client()) :: :ok
  def stop(cluster), do: :crema_cluster.stop(cluster)
end
