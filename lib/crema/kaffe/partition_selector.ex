defmodule Crema.Kaffe.PartitionSelector do
  @moduledoc """
  The choices that Kaffe's partition strategies make, for strategies of one's own.

      Crema.Kaffe.PartitionSelector.md5("key8", 32)
      #=> 17
  """

  @doc "The partition after `current`, and 0 after the last; also where there was none before."
  @spec round_robin(current :: integer | nil, total :: pos_integer) :: non_neg_integer
  def round_robin(current, total), do: if(current < total - 1, do: current + 1, else: 0)

  @doc "Any of them."
  @spec random(total :: pos_integer) :: non_neg_integer
  def random(total), do: choose(:random, total, "")

  @doc "By the key: the sum of the 16 bytes of its MD5, modulo `total`."
  @spec md5(key :: binary, total :: pos_integer) :: non_neg_integer
  def md5(key, total), do: choose(:md5, total, key)

  defp choose(strategy, total, key) do
    {:ok, partition} = :crema_partitioner.choose(strategy, {:none, ""}, total, key, nil)
    partition
  end
end
